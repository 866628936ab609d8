-- Keeps the generation of one user's tokens of one purpose alive, or starts a new one.
-- KEYS: generation; ARGV: name of a new generation, lifetime in milliseconds
local expires, name = now + tonumber(ARGV[2]), ARGV[1]
local kept = redis.call("GET", KEYS[1])
if kept then
  local until_ms, generation = string.match(kept, "^(%d+):(.+)$")
  expires, name = math.max(expires, tonumber(until_ms)), generation
end
redis.call("SET", KEYS[1], string.format("%.0f:%s", expires, name), "PX", string.format("%.0f", expires - now))
return {name}
