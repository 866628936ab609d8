-- Reads subjects for an operator, with the clock that judges them. KEYS: what to read.
local reply = {now}
for i = 1, #KEYS do reply[i + 1] = redis.call("GET", KEYS[i]) end
return reply
