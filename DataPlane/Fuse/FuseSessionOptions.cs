namespace Pollux.DataPlane.Fuse;

/// <summary>Limits and choices of a <see cref="FuseSession"/>.</summary>
public sealed record FuseSessionOptions
{
    /// <summary>What the mount table shows as the source, for example the module's name. Letters, digits, '-', '_', '.'.</summary>
    public string Source { get; init; } = "pollux";

    /// <summary>Threads that read requests; each has a buffer of about 1 MiB, touched as far as requests are large. 4: at depth 32 more
    /// did not help on two cores.</summary>
    public int Workers { get; init; } = 4;

    /// <summary>Asynchronous requests (direct I/O in flight, read-ahead) that the kernel sends at most before it makes callers wait. The
    /// kernel's default of 12 would cut a queue of depth 32. Synchronous requests are bounded by the threads of the applications.</summary>
    public ushort BackgroundMax { get; init; } = 256;

    /// <summary>Background requests from which on the kernel calls the mount congested: three quarters, as the kernel's own default.</summary>
    public ushort CongestionThreshold { get; init; } = 192;

    /// <summary>The handler clears set-user-id, set-group-id and file capabilities on a WRITE or SETATTR that says so
    /// (FUSE_HANDLE_KILLPRIV_V2). Without it the kernel asks for security.capability before each cached write.</summary>
    public bool HandlerKillsPrivileges { get; init; }

    /// <summary>The handler keeps POSIX ACLs as extended attributes, applies the umask and lets new entries inherit (FUSE_POSIX_ACL,
    /// FUSE_DONT_MASK, FUSE_SETXATTR_EXT); the kernel then checks access by them.</summary>
    public bool HandlerKeepsAcls { get; init; }

    /// <summary>How long the kernel may take to send INIT after the mount.</summary>
    public TimeSpan InitTimeout { get; init; } = TimeSpan.FromSeconds(10);
}
