-- mock_inbox(keys=[journal], args=[user, message])
--
-- Put a message into the mock inbox of a user, which keeps the newest two hundred.
--
-- Returns {code, now, ''}
--@include base

local user_id, message = unpack(ARGV, 1, 2)

redis.call('LPUSH', key('mock:inbox', user_id), message)
redis.call('LTRIM', key('mock:inbox', user_id), 0, 199)
return {'ok', int(now), ''}
