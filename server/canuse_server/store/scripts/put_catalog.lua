-- Creates or replaces one item of the catalogue, if it is still as the caller read it, and tells every server.
--
-- KEYS  1 the hash of items   2 the index of their ids   3 the catalogue's version   4 the hash of published versions
-- ARGV  1 item id   2 the item as the caller read it, or '' where there must be none   3 the new item
--       4 '' or, for a version that is being published, its field in KEYS[4]   5 the channel to tell   6 what to tell
-- Returns 1, or 0 if the item has changed since; then nothing was written.
assert(#KEYS == 4 and #ARGV == 6, 'put_catalog takes 4 keys and 6 arguments')

if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[4], ARGV[4], ARGV[3]) end
redis.call('INCR', KEYS[3])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1
