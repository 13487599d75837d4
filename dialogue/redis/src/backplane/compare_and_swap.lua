-- Writes or deletes a record if its value is the expected one.
-- KEYS: 1 hash of values, 2 sorted set of names
-- ARGV: 1 name, 2 '1' if the record is expected to exist, 3 its expected value, 4 '1' if it is to exist, 5 its new
--       value
-- Returns 1, or 0 if the record has another value.
local now = redis.call('HGET', KEYS[1], ARGV[1])
if (now and '1' or '') ~= ARGV[2] or (now and now ~= ARGV[3]) then return 0 end
if ARGV[4] == '1' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[5])
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return 1
