local reply = {}
for position, key in ipairs(KEYS) do
  local count = tonumber(redis.call("GET", key) or "0") + 1
  redis.call("SET", key, count, "PX", ARGV[1])
  reply[position] = count
end
return reply
