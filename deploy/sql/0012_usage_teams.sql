-- What organizations use, by team as well. Gateways of before cannot write to the table with this key:
-- what they count waits in their journals until they are replaced.

alter table tollgate.usage
    -- The team that a request names, or else the only one of its caller; empty if there is none.
    add column if not exists team text not null default '';

alter table tollgate.usage
    drop constraint usage_pkey,
    add primary key (incarnation, day, organization_id, kind, subject, team);
