-- replaced: how a payment ends that never took money, because something else happens to its invoice.

local function end_earlier(id, invoice_id, by)
    if is_expired(fields('payment', id, 'code_expires_at')) then
        end_unconfirmed(id, invoice_id, 'expired')
    else
        end_unconfirmed(id, invoice_id, 'canceled', 'by', by)
    end
end
