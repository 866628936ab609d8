-- Says in the index of locks whom some of them are about.
-- KEYS: the index. ARGV: who, for how long an unlocking of all is remembered, the subjects.
local names, found = {}, 0
for name in string.gmatch(ARGV[3], "%S+") do names[name] = true end
local header, lines = read_index(redis.call("GET", KEYS[1]) or "0", {})
for i = 1, #lines do
  if names[lines[i][2]] then lines[i][4], found = ARGV[1], 1 end
end
if found == 1 then write_index(KEYS[1], header, lines, tonumber(ARGV[2])) end
return {found}
