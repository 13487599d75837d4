-- Says that a peer is there, for a while, and tells who else is.
-- KEYS: 1 peers, a sorted set by the end of their time
-- ARGV: 1 peer, 2 for how many milliseconds
-- Yields 1 if it was there before, then those who are there, then those whose time is over.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local before = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return {
  before > now and 1 or 0,
  redis.call('ZRANGE', KEYS[1], now, '+inf', 'BYSCORE'),
  redis.call('ZRANGE', KEYS[1], '-inf', '(' .. now, 'BYSCORE'),
}
