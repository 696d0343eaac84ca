-- add_to_mock_inbox(user_id, message)
--
-- Put a message into the mock inbox of a user, with the time; the newest two hundred are kept.
--
-- Returns {code, now, ''}

local inbox = key('mock:inbox', user_id)
-- The same message again is a repeat after a lost reply.
local newest = redis.call('LINDEX', inbox, 0)
if not newest or string.match(newest, '^%d+ (.*)$') ~= message then
    redis.call('LPUSH', inbox, at .. ' ' .. message)
    redis.call('LTRIM', inbox, 0, 199)
end
return {'ok', at, ''}
