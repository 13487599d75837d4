-- Counts one request by the generic cell rate algorithm (GCRA), with the clock of the Redis server.
-- KEYS: 1 the theoretical arrival time of the client's next request, in microseconds
-- ARGV: 1 the interval between two requests, in microseconds; 2 the tolerance that the burst adds, in microseconds
-- Returns 0, or the time in microseconds after which the next request is allowed.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local wait = arrival - ARGV[2] - now
if wait > 0 then return math.ceil(wait) end
arrival = arrival + ARGV[1]
redis.call('SET', KEYS[1], string.format('%.3f', arrival), 'PX', math.max(1, math.ceil((arrival - now) / 1000)))
return 0
