-- update_user(operation_id, fingerprint, kept_ms, user_id, sets_email, email, sets_phone, phone, failures_per_day) recorded
--
-- Change the addresses of a user. The codes that wait are dead, see shared/code_state.lua; they are not read.
--
-- sets_email, sets_phone  '1' to set it; '' for no address
--
-- Each address that was there and each that is new gets a message. The journal has no addresses: the record of such a
-- message has its own, for as long as it is kept.
--
-- Returns {code, now, '', {user, fields}}

local user = read_user(user_id, failures_per_day)
if not user then
    return {'user_not_found', at, ''}
end

local function notify(channel, to, reason)
    local entry = append(ADDRESS_CHANGED, user_id, 'reason', reason)
    redis.call('HSET', key('message', entry), 'user', user_id, 'channel', channel, 'kind', ADDRESS_CHANGED, 'to', to,
        'status', 'waiting', 'attempts', '0', 'last_error', '', 'at', at)
    redis.call('ZADD', key('agenda'), at, 'msg_' .. entry)
end

local changes = {}
local function change(name, channel, to)
    if (user[name] or '') ~= to then
        changes[#changes + 1] = {name, channel, user[name], to ~= '' and to or nil}
    end
end
if sets_email == '1' then
    change('email', 'email', email)
end
if sets_phone == '1' then
    change('phone', 'sms', phone)
end
-- A reply after which nothing changed is not recorded: later, the same call may have an effect.
if #changes == 0 then
    return {'ok', at, '', {user_id, flat(user)}}
end
redis.call('ZCARD', key('agenda')) -- it has to be a sorted set before anything is written
local version = fields('user', user_id, 'address_version') or '0'
require_integer(version)
for _, each in ipairs(changes) do
    local name, channel, before, after = each[1], each[2], each[3], each[4]
    user[name] = after
    if after then
        redis.call('HSET', key('user', user_id), name, after)
    else
        redis.call('HDEL', key('user', user_id), name)
    end
    if before then
        notify(channel, before, 'removed')
    end
    if after then
        notify(channel, after, 'added')
    end
end
redis.call('HSET', key('user', user_id), 'address_version', int(version + 1))
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, '', {user_id, flat(user)}})
