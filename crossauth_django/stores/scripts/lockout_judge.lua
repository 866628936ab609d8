-- One sign-in attempt over its subjects: all of them count it, or none does.
-- KEYS: the subjects, pair first and address last, for a device its owner's password, then the
--       index of locks.
-- ARGV: reserve | check | count, letters, spelling, the password that the device knows or
--       nothing, window, base, cap, retention, grace, the subjects' names, their limits.
--       crossauth_django/lockout/ says why.
local known, SEVERAL = ARGV[4], 1
local stored = redis.call("MGET", unpack(KEYS, 1, #KEYS - 1))
if known ~= "" and stored[total + 1] and stored[total + 1] ~= known then return {2} end

local subjects, limit, refused = {}, {}, false
for i = 1, total do
  local s = live(parse(stored[i]), 0)
  subjects[i], limit[i] = s, tonumber(ARGV[10 + i])
  if s.till > now or s.count >= limit[i] then refused = true end
end

local index
if refused then
  index, refused = redis.call("GET", KEYS[#KEYS]) or "0", false
  local cleared = tonumber(string.match(index, "^%d+"))
  for i = 1, total do
    local s = live(subjects[i], cleared)
    if s.till > now or s.count >= limit[i] then refused = true end
  end
end

if not refused then
  if mode == "check" then return {1} end
  local reply = {1}
  for i = 1, total do
    local s = subjects[i]
    if string.byte(letters, i) ~= ADDRESS then
      if s.count == 0 and s.rounds == 0 then
        s.spelt = spelling
      elseif s.spelt ~= spelling then
        s.spelt = SEVERAL
      end
    end
    if s.start == 0 then s.start = now end
    s.count = s.count + 1
    if s.count == limit[i] then s.full = now end
    reply[i + 1] = s.start
  end
  if string.byte(letters, 1) == PAIR then
    local pair, from = subjects[1], 0
    if string.byte(letters, total) == ADDRESS then from = subjects[total].start end
    pair.share = from <= pair.share_start and pair.share + 1 or 1
    pair.share_start = from
  end
  for i = 1, total do write(i, subjects[i]) end
  return reply
end

if mode == "count" then return {0} end

local asks, wait, decided = false, 0, 1
for i = 1, total do asks = asks or subjects[i].till > now end
local id, started, locks, fresh = {}, {}, {}, {}
for name in string.gmatch(ARGV[10], "%S+") do id[#id + 1] = name end
for i = 1, total do
  local s = subjects[i]
  local left = s.till - now
  if left <= 0 and s.count >= limit[i] then
    left = 1000
    if not asks and now - s.full >= tonumber(ARGV[9]) then
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
  write_index(KEYS[#KEYS], header, lines, tonumber(ARGV[7]) + tonumber(ARGV[8]))
end
return {0, wait, decided, subjects[decided].rounds, table.concat(started, " ")}
