namespace Pollux.DataPlane.Core.Roles;

/// <summary>What a host is to a module, as operators see it (DESIGN.md §1). Each is <i>transient</i> or <i>ready</i>.</summary>
/// <remarks>
/// <code>
/// Stop ──start──► Wait ──takeover granted──► Alone ◄──exclude granted── Prim
///   ▲               │                          │                         ▲ │
///   │               └─peer is primary─► Second │──join granted───────────┘ │ handover granted
///   └────────────── stop (from any) ──────────   Second ◄──────────────────┘
/// Second ──takeover granted──► Alone       Second ──handover to it──► Prim
/// Alone, Prim ──deposed (record names the peer)──► Wait
/// </code>
/// </remarks>
public enum Role
{
    /// <summary>Not running by command; serves nothing, asks for nothing.</summary>
    Stop,

    /// <summary>Wants to run and may not yet: waits for the arbiter, the peer, or a local cause.</summary>
    Wait,

    /// <summary>The recorded primary with an in-sync set of itself only.</summary>
    Alone,

    /// <summary>The recorded primary with its peer in the in-sync set.</summary>
    Prim,

    /// <summary>Follows the primary: transient while it is resynced, ready once it is in the in-sync set.</summary>
    Second,
}

/// <summary>What a host knows of its own copy (DESIGN.md §1).</summary>
public enum DataState
{
    /// <summary>Nothing is known: no durable state, or it failed its checksum. Never promoted.</summary>
    Unknown,

    /// <summary>Target of an unfinished resync.</summary>
    Inconsistent,

    /// <summary>Was in sync and has missed writes.</summary>
    Outdated,

    /// <summary>Holds every acknowledged write as far as the host knows.</summary>
    UpToDate,
}
