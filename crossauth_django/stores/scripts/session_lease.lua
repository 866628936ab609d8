-- Puts a mark where nobody has put anything that is believed, and says what is believed now.
-- KEYS: copy, stamp of its bucket; ARGV: the mark, its lifetime in milliseconds, a new stamp, its
-- lifetime, how a row's copy begins (its first letter), the length of a copy's nonce
-- Answers the stamp, or an empty text where something stands.
local found, stamp = redis.call("GET", KEYS[1]), redis.call("GET", KEYS[2])
if found then
  local from = 2 + ARGV[6]
  if string.sub(found, 1, 1) ~= ARGV[5]
    or stamp and string.sub(found, from, from + #ARGV[3] - 1) == stamp then
    return {""}
  end
end
if not stamp then
  stamp = ARGV[3]
  redis.call("SET", KEYS[2], stamp, "PX", ARGV[4])
end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return {stamp}
