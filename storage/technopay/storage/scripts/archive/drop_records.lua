-- drop_records(claim, entry_id, records...) allow-oom
--
-- Let payments and invoices that ended leave the store: with a payment also the invoice that it paid. The claim ends
-- when all are dropped that ended up to `trimmed_to`.
--
-- entry_id  the entry up to which records were dropped then, not behind `trimmed_to`
-- records   two each: payment and its version, which is that of its last entry up to `trimmed_to`; or an invoice and ''
--
-- Returns {code, now, ''}: 'ok', or 'claim_lost'

local DROPPED = {succeeded = true, refunded = true, failed = true}

local current, trimmed_to, dropped_to = fields('archive', nil, 'trim_claim', 'trimmed_to', 'dropped_to')
if current ~= claim then
    return {'claim_lost', at, ''}
end
assert(trimmed_to and not is_after(entry_id, trimmed_to), 'the records have to be in a checkpoint')

local function drop(kind, id, user)
    redis.call('ZREM', key(kind .. 's', user), id)
    redis.call('DEL', key(kind, id))
end

local function drop_payment(id, version)
    local user, invoice, status, own_version, paid_at, set_aside =
        fields('payment', id, 'user', 'invoice', 'status', 'version', 'paid_at', 'set_aside')
    if not user or own_version ~= version or not paid_at or not DROPPED[status] or set_aside
        or redis.call('ZSCORE', key('agenda'), id) then
        return
    end
    drop('payment', id, user)
    local owner, paying = fields('invoice', invoice, 'user', 'payment')
    if owner and paying == id then
        drop('invoice', invoice, owner)
    end
end

local function drop_invoice(id)
    local user, status = fields('invoice', id, 'user', 'status')
    if status == 'void' then
        drop('invoice', id, user)
    end
end

for i = 1, #records, 2 do
    if string.sub(records[i], 1, 4) == 'pay_' then
        drop_payment(records[i], records[i + 1])
    else
        drop_invoice(records[i])
    end
end
if not dropped_to or is_after(entry_id, dropped_to) then
    redis.call('HSET', key('archive'), 'dropped_to', entry_id, 'trimming_until', int(now + ARCHIVE_MS))
end
if entry_id == trimmed_to then
    redis.call('HDEL', key('archive'), 'trimmer', 'trimming_until')
end
return {'ok', at, ''}
