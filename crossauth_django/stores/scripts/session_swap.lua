-- Replaces a session's copy only while it is the one that its writer saw.
-- KEYS: copy; ARGV: how the copy begins, the new copy, its lifetime in milliseconds,
-- the kinds that are forgotten when another one is found (their first letters)
local found = redis.call("GET", KEYS[1])
if not found then
  return {0}
end
if string.sub(found, 1, #ARGV[1]) == ARGV[1] then
  redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3])
  return {1}
end
if string.find(ARGV[4], string.sub(found, 1, 1), 1, true) then
  redis.call("DEL", KEYS[1])
end
return {0}
