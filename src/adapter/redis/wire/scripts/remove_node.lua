-- Removes a node that holds nothing any more: one whose lease has ended, or the calling node itself.
--
-- KEYS  1 nodes  2 the node's own topics  3 what it has not been told
-- ARGV  1 node  2 '1': it is the calling node
-- -> how many topics it still holds
local held = redis.call('SCARD', KEYS[2])
if held == 0 then
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    local lease_end = redis.call('ZSCORE', KEYS[1], ARGV[1])
    if lease_end and (ARGV[2] == '1' or tonumber(lease_end) <= now) then
        redis.call('ZREM', KEYS[1], ARGV[1])
        -- A node that only stood still comes back for it.
        if ARGV[2] == '1' then redis.call('DEL', KEYS[3]) end
    end
end
return held
