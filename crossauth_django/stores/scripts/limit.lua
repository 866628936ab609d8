-- Takes one from a sliding budget (the generic cell rate algorithm, GCRA).
-- KEYS: the budget; ARGV: how many at once, microseconds until one comes back.
local times, interval = tonumber(ARGV[1]), tonumber(ARGV[2])
local now_us, whole = now * 1000, times * interval
-- When the budget will be whole again; each one taken moves it one interval away.
local full_at = math.max(tonumber(redis.call("GET", KEYS[1]) or now_us), now_us)
local wait = full_at + interval - whole - now_us
local allowed = 0
if wait <= 0 then
  allowed, full_at = 1, full_at + interval
  redis.call("SET", KEYS[1], string.format("%.0f", full_at),
             "PX", string.format("%.0f", math.ceil((full_at - now_us) / 1000)))
end
local left = math.floor((whole - (full_at - now_us)) / interval)
return {allowed, left, math.max(0, math.ceil(wait / 1000)), math.ceil((full_at - now_us) / 1000)}
