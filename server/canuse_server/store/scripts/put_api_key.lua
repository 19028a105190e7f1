-- Keeps or forgets one API key, if none has changed since the caller read them all, and tells every server.
--
-- KEYS  1 the hash of keys by id   2 their stamp   3 when each was used last   4 the audit log of the keys
-- ARGV  1 the stamp that the caller read, '' for none   2 the key's id   3 the key, or '' to forget it
--       4 the channel to tell   5 the random part of the new stamp
--       6 the entry of the audit log, '' for none   7 its maximum age in ms   8 now in ms, or '' for Redis's clock
-- Returns 1, or 0 if the keys have changed since; then nothing was written.
-- include: clock
-- include: audit
assert(#KEYS == 4 and #ARGV == 8, 'put_api_key takes 4 keys and 8 arguments')

local before = redis.call('GET', KEYS[2]) or ''
if before ~= ARGV[1] then return 0 end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
else
  redis.call('HDEL', KEYS[1], ARGV[2])
  redis.call('ZREM', KEYS[3], ARGV[2])
end
redis.call('SET', KEYS[2], string.format('%d-%s', tonumber(string.match(before, '^%d+') or '0') + 1, ARGV[5]))
redis.call('PUBLISH', ARGV[4], ARGV[2])
audit(KEYS[4], ARGV[6], ARGV[7], ARGV[8])
return 1
