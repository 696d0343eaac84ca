-- claim_relay(owner, limit)
--
-- Claim the relay and read the news behind its cursor, at most `limit` entries; without entries nothing is written.
--
-- Returns {code, now, claim, [{entry, kind, code version, reason, context}], last entry, whether it is the end,
-- [currencies of the payments that were canceled without a message]}: 'nothing', or 'busy' while another process relays.
-- For the context see shared/message.lua: {payment} for an unreadable one. A payment that is gone causes no message.

local cursor, relay_owner, claimed_until = fields('relay', nil, 'cursor', 'owner', 'claimed_until')
local remaining_ms = (tonumber(claimed_until or '') or 0) - now
if remaining_ms > 0 and remaining_ms <= RELAY_MS and relay_owner ~= owner then
    return {'busy', at, ''}
end
local entries = redis.call('XRANGE', journal, '(' .. (cursor or '0-0'), '+', 'COUNT', limit)
if #entries == 0 then
    return {'nothing', at, ''}
end
local claim = int(redis.call('HINCRBY', key('relay'), 'claim', 1))
redis.call('HSET', key('relay'), 'owner', owner, 'claimed_until', int(now + RELAY_MS))

local messages, canceled = {}, {}

local function add_message(entry)
    local entry_fields = read_entry(entry)
    local kind = message_kind(entry_fields)
    if not kind then
        local is_known, currency = pcall(fields, 'payment', entry_fields.payment, 'currency')
        canceled[#canceled + 1] = is_known and currency or nil
        return
    end
    local is_read, context = pcall(message_context, entry_fields.payment)
    if context ~= '' then
        messages[#messages + 1] = {entry[1], kind, entry_fields.issue or '', message_reason(entry_fields),
            is_read and context or {entry_fields.payment}}
    end
end

for _, entry in ipairs(entries) do
    if MESSAGE_KINDS[entry[2][1]] then
        add_message(entry)
    end
end
return {'ok', at, claim, messages, entries[#entries][1], #entries < tonumber(limit) and 1 or 0, canceled}
