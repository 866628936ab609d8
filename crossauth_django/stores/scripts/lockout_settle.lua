-- Takes a sign-in attempt back from its subjects, or forgets what counts against them.
-- KEYS: the subjects, pair first and address last.
-- ARGV: clear | return, letters, spelling, CROSSAUTH_LOCKOUT_ON_SUCCESS, window, base, cap,
--       retention, grace, for each subject the start of the window that counted it.
--       crossauth_django/lockout/ says why.
local stored = redis.call("MGET", unpack(KEYS))
local subjects = {}
for i = 1, total do subjects[i] = live(parse(stored[i]), 0) end

local has_pair, shared = string.byte(letters, 1) == PAIR, ARGV[4] == "clear_all"
local pair, address = subjects[1], subjects[total]
local own, started = 0, tonumber(ARGV[9 + total])
if has_pair and string.byte(letters, total) == ADDRESS and address.count > 0
    and address.start <= pair.share_start then
  own = pair.share
end
local returned = pair.count > 0 and pair.start == tonumber(ARGV[10])
local alike = pair.spelt == spelling
local doomed, written = {}, 0
for i = 1, total do
  local s, less = subjects[i], 0
  local matches = s.count > 0 and s.start == tonumber(ARGV[9 + i])
  if string.byte(letters, i) == ADDRESS then
    if mode == "clear" and shared and has_pair and alike then
      less = math.min(own, s.count)
    elseif matches and (returned or not (shared and has_pair)) then
      less = 1
    end
  elseif mode == "clear" and s.spelt == spelling then
    if stored[i] then doomed[#doomed + 1] = KEYS[i] end
  elseif matches then
    less = 1
  end
  if less > 0 then
    s.count, s.full = s.count - less, 0
    if s.count == 0 then s.start = 0 end
    if string.byte(letters, i) == PAIR and own == 0 then
      s.share, s.share_start = s.count, s.start
    elseif string.byte(letters, i) == PAIR and address.start == started then
      s.share = s.share - 1
    end
    write(i, s)
    written = written + 1
  end
end
if #doomed > 0 then redis.call("DEL", unpack(doomed)) end
return {written + #doomed}
