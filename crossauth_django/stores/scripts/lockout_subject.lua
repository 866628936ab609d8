-- What stands under a subject's key, and for how long; before lockout_judge and lockout_settle.
-- ARGV: a mode, a letter for each subject's rule, how the name was typed (a number for each
--       spelling), something of the mode's, then window, base, cap, retention, grace in
--       milliseconds.
local mode, letters, spelling = ARGV[1], ARGV[2], tonumber(ARGV[3])
local window, total = tonumber(ARGV[5]), #ARGV[2]
local PAIR, ADDRESS = string.byte("pa", 1, 2)

local function duration(rounds)
  return math.min(tonumber(ARGV[6]) * 2 ^ (rounds - 1), tonumber(ARGV[7]))
end

local function parse(text)
  local number = tonumber(text or 0)
  if number then
    local count = number % 1000
    local start = (number - count) / 1000
    return {count = count, start = start, full = 0, rounds = 0, till = 0,
            share_start = start, share = count, spelt = 0}
  end
  local n = {}
  for digits in string.gmatch(text, "%d+") do n[#n + 1] = tonumber(digits) end
  local spelt = 0
  if #n % 2 == 0 then spelt = table.remove(n) end
  if #n == 1 then
    local s = parse(n[1])
    s.spelt = spelt
    return s
  end
  return {count = n[1], start = n[2], full = n[3], rounds = n[4], till = n[5],
          share_start = n[6] or n[2], share = n[7] or n[1], spelt = spelt}
end

local function live(s, cleared)
  if cleared > now then cleared = 0 end
  if s.rounds > 0 then
    local began = s.till - duration(s.rounds)
    if now >= s.till + tonumber(ARGV[8]) or began <= cleared then s.rounds, s.till = 0, 0 end
  end
  if s.count > 0 and (now - s.start >= window or s.start <= cleared) then
    s.count, s.start, s.full = 0, 0, 0
  end
  return s
end

local function write(i, s)
  local ends = 0
  if s.count > 0 then ends = s.start + window end
  if s.rounds > 0 then ends = math.max(ends, s.till + tonumber(ARGV[8])) end
  local plain = string.byte(letters, i) ~= PAIR
    or (s.share == s.count and s.share_start <= s.start)
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
