-- Moves the manual clock, forwards only.
--
-- KEYS  1 the clock   2 its audit log
-- ARGV  1 'T' to a time, 'D' by a duration   2 the time or the duration in ms   3 the latest time it may show, in ms
--       4 the entry of the audit log, '' for none   5 its maximum age in ms
-- Returns the time it shows then, in ms, as a string; or '' if that would be before what it shows or past the latest.
-- include: clock
-- include: audit
assert(#KEYS == 2 and #ARGV == 5, 'advance_clock takes 2 keys and 5 arguments')

local now = tonumber(redis.call('GET', KEYS[1]))
local time = tonumber(ARGV[2])
if ARGV[1] == 'D' then time = now + time end
if time < now or time > tonumber(ARGV[3]) then return '' end
local text = string.format('%.0f', time)
redis.call('SET', KEYS[1], text)
if time > now then audit(KEYS[2], ARGV[4], ARGV[5], text) end
return text
