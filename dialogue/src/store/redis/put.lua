-- Writes and removes records of one group.
-- KEYS: 1 values, 2 the names in their order
-- ARGV: 1 how many are written, then their names and values, then the names of those to remove
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
