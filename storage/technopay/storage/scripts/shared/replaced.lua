-- replaced: how a payment ends that never took money, because something else happens to its invoice.

local function end_earlier(id, invoice_id, by)
    if shown_status(id, 'requires_confirmation') == 'expired' then
        end_unconfirmed(id, invoice_id, 'expired')
    else
        end_unconfirmed(id, invoice_id, 'canceled', 'by', by)
    end
end
