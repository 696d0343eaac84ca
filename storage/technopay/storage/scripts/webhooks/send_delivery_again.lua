-- send_delivery_again(operation_id, fingerprint, kept_ms, webhook_id, entry_id) recorded
--
-- Let a dead delivery wait again, with all its attempts. One that is not dead is not changed.
--
-- Returns {code, now, '', {entry, fields}}

local subject, status = fields('delivery', delivery_name(webhook_id, entry_id), 'subject', 'status')
if not status then
    return {'delivery_not_found', at, ''}
elseif status ~= 'dead' then
    return {'ok', at, '', read_delivery(webhook_id, entry_id)}
end
revive(webhook_id, entry_id, subject)
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, '', read_delivery(webhook_id, entry_id)})
