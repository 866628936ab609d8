local value = redis.call("GET", KEYS[1])
redis.call("DEL", KEYS[1])
return {value, now, ARGV[1], ARGV[2], false}
