-- Takes one of what a client has left: the generic cell rate algorithm, by the server's clock.
-- KEYS: 1 when all of it is back, in microseconds
-- ARGV: 1 after how many microseconds one is back, 2 the most that all may be due in, before one is taken
-- Yields 0, or after how many microseconds there is one.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local wait = due - ARGV[2] - now
if wait > 0 then return math.ceil(wait) end
due = due + ARGV[1]
redis.call('SET', KEYS[1], string.format('%.3f', due), 'PX', math.max(1, math.ceil((due - now) / 1000)))
return 0
