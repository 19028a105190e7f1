-- Keeps or forgets one API key, if none has changed since the caller read them all, and tells every server.
--
-- KEYS  1 the hash of keys by id   2 their version   3 when each was used last
-- ARGV  1 the version that the caller read   2 the key's id   3 the key, or '' to forget it   4 the channel to tell
-- Returns 1, or 0 if the keys have changed since; then nothing was written.
assert(#KEYS == 3 and #ARGV == 4, 'put_api_key takes 3 keys and 4 arguments')

if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[1] then return 0 end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
else
  redis.call('HDEL', KEYS[1], ARGV[2])
  redis.call('ZREM', KEYS[3], ARGV[2])
end
redis.call('INCR', KEYS[2])
redis.call('PUBLISH', ARGV[4], ARGV[2])
return 1
