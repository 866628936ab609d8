-- The index of locks: its header, and the lines that hold and are not among the given ones;
-- before lockout_judge and lockout_seal.
local function read_index(text, without)
  local lines = {}
  for till, name, rounds, sealed in string.gmatch(text, "\n(%d+) (%S+) (%d+) (%S+)") do
    if tonumber(till) > now and not without[name] then
      lines[#lines + 1] = {till, name, rounds, sealed}
    end
  end
  return string.match(text, "^%d+"), lines
end

local function write_index(key, header, lines, kept_for)
  local ends, texts = 0, {header}
  for i = 1, #lines do
    ends = math.max(ends, tonumber(lines[i][1]))
    texts[i + 1] = table.concat(lines[i], " ")
  end
  if tonumber(header) > 0 then ends = math.max(ends, tonumber(header) + kept_for) end
  redis.call("SET", key, table.concat(texts, "\n"), "PX", string.format("%.0f", ends - now))
end
