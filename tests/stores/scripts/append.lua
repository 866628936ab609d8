local value = (redis.call("GET", KEYS[1]) or "") .. ARGV[1]
redis.call("SET", KEYS[1], value, "PX", 60000)
return {value}
