-- Moves the manual clock, forwards only.
--
-- KEYS  1 the clock
-- ARGV  1 'T' to a time, 'D' by a duration   2 the time or the duration in ms   3 the latest time it may show, in ms
-- Returns the time it shows then, in ms, as a string; or '' if that would be before what it shows or past the latest.
assert(#KEYS == 1 and #ARGV == 3, 'advance_clock takes 1 key and 3 arguments')

local now = tonumber(redis.call('GET', KEYS[1]))
local time = tonumber(ARGV[2])
if ARGV[1] == 'D' then time = now + time end
if time < now or time > tonumber(ARGV[3]) then return '' end
local text = string.format('%.0f', time)
redis.call('SET', KEYS[1], text)
return text
