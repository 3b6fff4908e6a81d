-- Publishes a count that was held back, unless another node has.
--
-- KEYS  1 topic's state  2 due  3 what the node has not been told
-- ARGV  1 topic  2 PUBLISH or SPUBLISH  3 topic id
-- -> the subscriptions; 0: nothing was published; number of what is told here
local state, due, untold = unpack(KEYS)
if redis.call('ZREM', due, ARGV[3]) == 0 then return {0, '0'} end
local total = tonumber(redis.call('HGET', state, 'total') or 0)
if total == 0 then return {0, '0'} end
local time = redis.call('TIME')
redis.call('HSET', state, 'told', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
redis.call(ARGV[2], ARGV[1], '\1C' .. string.rep('0', 16) .. total)
local at = string.format('%.0f', time[1] * 1000000 + time[2])
redis.call('ZADD', untold, at, at .. 'S' .. ARGV[3] .. '\0' .. total)
redis.call('EXPIRE', untold, 600)
return {total, at}
