-- Writes and deletes records of one group.
-- KEYS: 1 hash of values, 2 sorted set of names
-- ARGV: 1 number of records to write, then their names and values, then the names of records to delete
local last = 1 + 2 * ARGV[1]
for i = 2, last, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('ZADD', KEYS[2], 0, ARGV[i])
end
for i = last + 1, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[i])
  redis.call('ZREM', KEYS[2], ARGV[i])
end
return 1
