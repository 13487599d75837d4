-- Renews the lease of a node, and returns the leases of all nodes. Time is that of the Redis server.
-- KEYS: 1 sorted set of nodes by the end of their lease in ms
-- ARGV: 1 node, 2 duration of the lease in ms
-- Returns 1 if the node's lease had not expired before or 0, then the live nodes, then the expired ones.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local before = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return {
  before > now and 1 or 0,
  redis.call('ZRANGE', KEYS[1], now, '+inf', 'BYSCORE'),
  redis.call('ZRANGE', KEYS[1], '-inf', '(' .. now, 'BYSCORE'),
}
