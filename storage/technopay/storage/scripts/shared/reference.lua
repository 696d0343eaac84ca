-- reference: a merchant's name for an invoice, used once, until the invoice is void or has expired unpaid.
--
-- On a store of several partitions a reference has a home, where it is reserved before the invoice is created:
-- `references` has there '<invoice> <operation> <fingerprint>'.

-- How long an invoice has to be created after its reference was reserved, before another process looks.
local RESERVED_MS = 30000

-- The length keeps ('ab', 'c') and ('a', 'bc') apart.
local function referred_as(merchant, reference)
    return #merchant .. ':' .. merchant .. reference
end

-- Whether an invoice frees its reference. One that has expired unpaid stays expired for good: otherwise it could be
-- paid, too, after the clock went back.
local function frees_reference(invoice_id)
    local status, expired_at, payment = fields('invoice', invoice_id, 'status', 'expires_at', 'payment')
    local is_due = status == 'open' and now >= tonumber(expired_at)
    local unpaid = not payment or fields('payment', payment, 'status') == 'requires_confirmation'
    if not (status == 'void' or status == 'expired' or is_due and unpaid) then
        return false
    end
    if is_due then
        if payment then
            end_unconfirmed(payment, invoice_id, 'expired')
        end
        redis.call('HSET', key('invoice', invoice_id), 'status', 'expired')
        append('invoice.expired', invoice_id)
    end
    return true
end
