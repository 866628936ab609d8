-- One sign-in attempt over its subjects: all of them count it, or none does.
-- KEYS: the subjects, pair first and address last, then (not to settle) the index of locks, then
--       for a device its owner's password. To seal, the index alone.
-- ARGV: reserve | check | count | clear | return | seal, window, grace, base, cap, retention, then
--       who: the password that the device knows or nothing (to settle:
--       CROSSAUTH_LOCKOUT_ON_SUCCESS; to seal: whom it is about), then for each subject its limit
--       (to settle: the start of the window that counted it) and its name, whose first letter
--       is the rule. Last, how the name was typed: a number for each spelling. Lengths in
--       milliseconds. crossauth_django/lockout/ says why.
local mode, who = ARGV[1], ARGV[7]
local window, grace, base = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local cap, retention = tonumber(ARGV[5]), tonumber(ARGV[6])
local spelling, several = tonumber(ARGV[#ARGV]), 1
local total = (#ARGV - 8) / 2
local number, id, rule = {}, {}, {}
for i = 1, total do
  number[i], id[i] = tonumber(ARGV[6 + 2 * i]), ARGV[7 + 2 * i]
  rule[i] = string.sub(id[i], 1, 1)
end

-- The index: its header, and the lines that hold and are not among the given ones.
local function read_index(text, without)
  local lines = {}
  for till, name, rounds, sealed in string.gmatch(text, "\n(%d+) (%S+) (%d+) (%S+)") do
    if tonumber(till) > now and not without[name] then
      lines[#lines + 1] = {till, name, rounds, sealed}
    end
  end
  return string.match(text, "^%d+"), lines
end

local function write_index(key, header, lines)
  local ends, texts = 0, {header}
  for i = 1, #lines do
    ends = math.max(ends, tonumber(lines[i][1]))
    texts[i + 1] = table.concat(lines[i], " ")
  end
  if tonumber(header) > 0 then ends = math.max(ends, tonumber(header) + cap + retention) end
  redis.call("SET", key, table.concat(texts, "\n"), "PX", string.format("%.0f", ends - now))
end

if mode == "seal" then
  local header, lines = read_index(redis.call("GET", KEYS[1]) or "0", {})
  local found = 0
  for i = 1, #lines do
    for j = 1, total do
      if lines[i][2] == id[j] then lines[i][4], found = who, 1 end
    end
  end
  if found == 1 then write_index(KEYS[1], header, lines) end
  return {found}
end

local settles = mode == "clear" or mode == "return"
if not settles and who ~= "" then
  local password = redis.call("GET", KEYS[total + 2])
  if password and password ~= who then return {2} end
end

local function duration(rounds)
  if rounds == 0 then return 0 end
  return math.min(base * 2 ^ (rounds - 1), cap)
end

local function parse(text)
  local n = {}
  for digits in string.gmatch(text or "", "%d+") do n[#n + 1] = tonumber(digits) end
  if #n == 0 then n = {0, 0, 0, 0, 0} end
  local spelt = 0
  if #n % 2 == 0 then spelt = table.remove(n) end
  if #n == 1 then
    local count = n[1] % 1000
    n = {count, (n[1] - count) / 1000}
  end
  return {count = n[1], start = n[2], full = n[3] or 0, rounds = n[4] or 0, till = n[5] or 0,
          share_start = n[6] or n[2], share = n[7] or n[1], spelt = spelt}
end

local function live(s, cleared)
  if cleared > now then cleared = 0 end
  local began = s.till - duration(s.rounds)
  if s.rounds > 0 and (now >= s.till + retention or began <= cleared) then
    s.rounds, s.till = 0, 0
  end
  if s.count > 0 and (now - s.start >= window or s.start <= cleared) then
    s.count, s.start, s.full = 0, 0, 0
  end
end

local function write(i, s)
  local ends = 0
  if s.count > 0 then ends = s.start + window end
  if s.rounds > 0 then ends = math.max(ends, s.till + retention) end
  local plain = rule[i] ~= "p" or (s.share == s.count and s.share_start <= s.start)
  if not plain and s.share > 0 then ends = math.max(ends, s.share_start + window) end
  if ends <= now then
    redis.call("DEL", KEYS[i])
    return
  end
  local text
  if plain and s.full == 0 and s.rounds == 0 and s.count < 1000 then
    text = string.format("%.0f", s.start * 1000 + s.count)
  else
    text = string.format("%.0f %.0f %.0f %.0f %.0f", s.count, s.start, s.full, s.rounds, s.till)
    if not plain then text = text .. string.format(" %.0f %.0f", s.share_start, s.share) end
  end
  if s.spelt > 0 then text = text .. string.format(" %.0f", s.spelt) end
  redis.call("SET", KEYS[i], text, "PX", string.format("%.0f", ends - now))
end

local subjects, present = {}, {}
for i = 1, total do
  local text = redis.call("GET", KEYS[i])
  present[i] = text ~= false
  subjects[i] = parse(text or nil)
  live(subjects[i], 0)
end

if settles then
  local pair, has_pair, shared = subjects[1], rule[1] == "p", who == "clear_all"
  local address = rule[total] == "a" and subjects[total] or parse(nil)
  local own = 0
  if has_pair and address.count > 0 and address.start <= pair.share_start then own = pair.share end
  local returned = pair.count > 0 and pair.start == number[1]
  local alike = pair.spelt == spelling
  local written = 0
  for i = 1, total do
    local s, less = subjects[i], 0
    local matches = s.count > 0 and s.start == number[i]
    if rule[i] == "a" then
      if mode == "clear" and shared and has_pair and alike then
        less = math.min(own, s.count)
      elseif matches and (returned or not (shared and has_pair)) then
        less = 1
      end
    elseif mode == "clear" and s.spelt == spelling then
      if present[i] then
        redis.call("DEL", KEYS[i])
        written = written + 1
      end
    elseif matches then
      less = 1
    end
    if less > 0 then
      s.count, s.full = s.count - less, 0
      if s.count == 0 then s.start = 0 end
      if rule[i] == "p" and own == 0 then
        s.share, s.share_start = s.count, s.start
      elseif rule[i] == "p" and address.start == number[total] then
        s.share = s.share - 1
      end
      write(i, s)
      written = written + 1
    end
  end
  return {written}
end

local function refuses()
  for i = 1, total do
    if subjects[i].till > now or subjects[i].count >= number[i] then return true end
  end
  return false
end

local index
if refuses() then
  index = redis.call("GET", KEYS[total + 1]) or "0"
  local cleared = tonumber(string.match(index, "^%d+"))
  for i = 1, total do live(subjects[i], cleared) end
end

if not refuses() then
  if mode == "check" then return {1} end
  local reply = {1}
  for i = 1, total do
    local s = subjects[i]
    if rule[i] ~= "a" then
      if s.count == 0 and s.rounds == 0 then
        s.spelt = spelling
      elseif s.spelt ~= spelling then
        s.spelt = several
      end
    end
    if s.start == 0 then s.start = now end
    s.count = s.count + 1
    if s.count == number[i] then s.full = now end
    reply[i + 1] = s.start
  end
  if rule[1] == "p" then
    local pair, from = subjects[1], 0
    if rule[total] == "a" then from = subjects[total].start end
    pair.share = from <= pair.share_start and pair.share + 1 or 1
    pair.share_start = from
  end
  for i = 1, total do write(i, subjects[i]) end
  return reply
end

if mode == "count" then return {0} end

local asks, wait, decided = false, 0, 1
for i = 1, total do asks = asks or subjects[i].till > now end
local started, locks, fresh = {}, {}, {}
for i = 1, total do
  local s = subjects[i]
  local left = s.till - now
  if left <= 0 and s.count >= number[i] then
    left = 1000
    if not asks and now - s.full >= grace then
      s.rounds = s.rounds + 1
      left = duration(s.rounds)
      s.till, s.count, s.start, s.full = now + left, 0, 0, 0
      write(i, s)
      locks[#locks + 1] = {string.format("%.0f", s.till), id[i], string.format("%.0f", s.rounds), "-"}
      started[#started + 1] = string.format("%.0f:%.0f:%.0f", i, s.rounds, left)
      fresh[id[i]] = true
    end
  end
  if left > wait then wait, decided = left, i end
end

if #locks > 0 then
  local header, lines = read_index(index, fresh)
  for i = 1, #locks do lines[#lines + 1] = locks[i] end
  while #lines > 48 do table.remove(lines, 1) end
  write_index(KEYS[total + 1], header, lines)
end
return {0, wait, decided, subjects[decided].rounds, table.concat(started, " ")}
