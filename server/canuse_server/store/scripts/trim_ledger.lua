-- Removes the events of a ledger that are too old, also the last ones, which appending removes only by whole groups.
--
-- KEYS  1 the bucket's ledger
-- ARGV  1 now in ms, or '' for Redis's clock   2 the maximum age of events in ms   3 about how many at most
-- Returns how many were removed, and 1 if there may be more, otherwise 0.
-- include: clock
assert(#KEYS == 1 and #ARGV == 3, 'trim_ledger takes 1 key and 3 arguments')

local oldest = string.format('%.0f', math.max(0, clock(ARGV[1]) - ARGV[2]))
local removed = redis.call('XTRIM', KEYS[1], 'MINID', '~', oldest, 'LIMIT', ARGV[3])
if removed > 0 then return { removed, 1 } end
-- At most a part of one group is left.
return { redis.call('XTRIM', KEYS[1], 'MINID', '=', oldest), 0 }
