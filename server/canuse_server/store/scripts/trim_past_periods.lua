-- Does what is due about the past periods of some features of a user: removes the oldest, and adds up hours to days.
--
-- KEYS  1 the user's past periods
-- ARGV  1 now in ms, or '' for Redis's clock   2 how many days they are kept   3 the cursor, '0' for the first features
--       4 about how many features
-- Returns the cursor for the next features, '0' after the last ones, and of how many features something was due.
-- include: layout
-- include: fields
-- include: clock
-- include: history
assert(#KEYS == 1 and #ARGV == 4, 'trim_past_periods takes 1 key and 4 arguments')

local now, kept_days, trimmed = clock(ARGV[1]), tonumber(ARGV[2]), 0
local found = redis.call('HSCAN', KEYS[1], ARGV[3], 'COUNT', ARGV[4])
local history = past_periods()
for i = 1, #found[2], 2 do
  local field = found[2][i]
  local feature = string.sub(field, 1, #PAST_FIELD) == PAST_FIELD and string.sub(field, #PAST_FIELD + 1) or field
  local past, is_old = history.read(KEYS[1], feature)
  local new = history.tidied(past, kept_days, now)
  if new ~= past then
    history.write(KEYS[1], feature, new, is_old)
    trimmed = trimmed + 1
  end
end
return { found[1], trimmed }
