-- The ledger of what organizations use. Written by gateways with `metering`: each process counts
-- under incarnations of its own, and its counters are only ever raised, so that writing them again
-- changes nothing and the sum over all rows is exact.

create table if not exists tollgate.usage (
    -- Of a gateway's process; one process may have several.
    incarnation uuid not null,
    -- In the time zone of the gateway's configuration.
    day date not null,
    -- No reference: what an organization used is owed also when it is gone.
    organization_id uuid not null,
    kind text not null
        constraint usage_kind_is_known
        check (kind in ('user', 'key', 'service', 'anonymous', 'others')),
    -- A user's id, a key's id or a service's name; empty where nothing tells callers apart.
    subject text not null,
    -- `server.node` of the gateway.
    node text not null,
    calls bigint not null,
    bytes_in bigint not null,
    bytes_out bigint not null,
    cost bigint not null,
    updated_at timestamptz not null default now(),
    constraint usage_counts_up
        check (calls >= 0 and bytes_in >= 0 and bytes_out >= 0 and cost >= 0),
    primary key (incarnation, day, organization_id, kind, subject)
);

create index if not exists usage_of_organization on tollgate.usage (organization_id, day);
create index if not exists usage_of_day on tollgate.usage (day);
