-- Creates or replaces one item of the catalogue, if it is still as the caller read it, notes the change in the log of
-- changes, and tells every server.
--
-- KEYS  1 the hash of items   2 the index of their ids   3 the catalogue's stamp   4 the hash of published versions
--       5 the log of changes, a stream whose ids are stamps   6 the catalogue's audit log
-- ARGV  1 item id   2 the item as the caller read it, or '' where there must be none   3 the new item
--       4 '' or, for a version that is being published, its field in KEYS[4]   5 the channel to tell
--       6 the random part of the new stamp   7 the kind of item: 'feature' or 'package'   8 how many changes to keep
--       9 the entry of the audit log, '' for none   10 its maximum age in ms   11 now in ms, or '' for Redis's clock
-- Returns the new stamp, or '' if the item has changed since; then nothing was written.
-- include: clock
-- include: audit
assert(#KEYS == 6 and #ARGV == 11, 'put_catalog takes 6 keys and 11 arguments')

if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return '' end
local before = redis.call('GET', KEYS[3]) or ''
local stamp = string.format('%d-%s', tonumber(string.match(before, '^%d+') or '0') + 1, ARGV[6])
local last = redis.call('XREVRANGE', KEYS[5], '+', '-', 'COUNT', 1)[1]
-- From here on it writes. A log that does not end with the stamp is not the one of this catalogue.
if last and last[1] ~= before then redis.call('UNLINK', KEYS[5]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[4], ARGV[4], ARGV[3]) end
redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[8], stamp, ARGV[7], ARGV[1])
redis.call('SET', KEYS[3], stamp)
redis.call('PUBLISH', ARGV[5], ARGV[1])
audit(KEYS[6], ARGV[9], ARGV[10], ARGV[11])
return stamp
