-- Claims keys for publishes that follow, all or none, or gives them back.
--
-- KEYS  the records of the keys, see publish_once
-- ARGV  1 who claims them  2 'claim' or 'release'  then for each key: content, window in ms
-- -> 0, or the number of the first key that is bound to another content
local holder, verb = ARGV[1], ARGV[2]
if verb == 'release' then
    for _, record in ipairs(KEYS) do
        -- A record that nobody holds and under which nothing was published has nothing but its content.
        if redis.call('HDEL', record, holder) == 1 and redis.call('HLEN', record) == 1 then
            redis.call('DEL', record)
        end
    end
    return 0
end
for n, record in ipairs(KEYS) do
    local bound = redis.call('HGET', record, 'content')
    if bound and bound ~= '' and bound ~= ARGV[2 * n + 1] then return n end
end
for n, record in ipairs(KEYS) do
    if redis.call('HSETNX', record, 'content', ARGV[2 * n + 1]) == 1 then
        redis.call('PEXPIRE', record, ARGV[2 * n + 2])
    end
    -- Sixteen keep it from being given back as well as more would.
    if redis.call('HLEN', record) <= 16 then redis.call('HSET', record, holder, '') end
end
return 0
