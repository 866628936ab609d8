local from = tonumber(redis.call("GET", KEYS[1]) or "0")
local to = tonumber(redis.call("GET", KEYS[2]) or "0")
local amount = math.min(tonumber(ARGV[1]), from)
redis.call("SET", KEYS[1], from - amount, "PX", 60000)
redis.call("SET", KEYS[2], to + amount, "PX", 60000)
return {from - amount, to + amount}
