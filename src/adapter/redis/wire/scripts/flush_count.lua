-- Publishes a count that was held back.
--
-- KEYS  1 topic's state
-- ARGV  1 topic  2 PUBLISH or SPUBLISH
-- -> the subscriptions; 0: nothing was published
local total = tonumber(redis.call('HGET', KEYS[1], 'total') or 0)
if total > 0 then
    local time = redis.call('TIME')
    redis.call('HSET', KEYS[1], 'told', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
    redis.call(ARGV[2], ARGV[1], '\1C' .. string.rep('0', 16) .. total)
end
return total
