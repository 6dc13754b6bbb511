namespace Pollux.DataPlane.Hypervisor;

/// <summary>Runs the VMs of modules. Every call has its own deadline; <see cref="CallOutcome.Unknown"/> is resolved by looking, never by
/// assuming.</summary>
public interface IHypervisor : IAsyncDisposable
{
    /// <summary>Raised when something happened to a domain: a hint to look. On any thread; must not block.</summary>
    event Action<string>? Changed;

    /// <summary>Name and version, for example <c>QEMU 7.2.22 / libvirt 9.0.0</c>, or null if none answers.</summary>
    Task<string?> DescribeAsync(CancellationToken cancel);

    /// <summary>Asks whether a definition would be accepted; changes nothing.</summary>
    Task<HypervisorAnswer> ValidateAsync(string definition, CancellationToken cancel);

    /// <summary>Makes the definition known, in place of an older one of the same domain; the domain never starts by itself.</summary>
    Task<HypervisorAnswer> DefineAsync(string domain, string definition, CancellationToken cancel);

    Task<HypervisorAnswer> StartAsync(string domain, CancellationToken cancel);

    /// <summary>Asks the guest to shut down (agent if there is one, else ACPI); returns when it was asked, not when it is done.</summary>
    Task<HypervisorAnswer> ShutDownAsync(string domain, CancellationToken cancel);

    /// <summary>Ends the domain at once. Done also if it did not run.</summary>
    Task<HypervisorAnswer> DestroyAsync(string domain, CancellationToken cancel);

    /// <summary>Stops the processors at once; returns when the domain's I/O has ended as well, which can take long.</summary>
    Task<HypervisorAnswer> SuspendAsync(string domain, CancellationToken cancel);

    Task<HypervisorAnswer> ResumeAsync(string domain, CancellationToken cancel);

    /// <summary>The errors of the domain's disks at this moment, one line, for example <c>vda: no space</c>; null if there are none or nobody
    /// answers.</summary>
    Task<string?> DiskErrorsAsync(string domain, CancellationToken cancel);

    /// <summary>Whether the guest's agent answers. Done: it does. Refused: it does not, or there is no way to it; the text tells which, in libvirt's words.</summary>
    Task<HypervisorAnswer> PingGuestAsync(string domain, TimeSpan timeout, CancellationToken cancel);

    Task<DomainStatus> LookAsync(string domain, CancellationToken cancel);

    /// <summary>The process that executes the domain now, or null if there is certainly none. Does not ask the hypervisor's daemon.</summary>
    int? EmulatorPid(string domain);

    /// <summary>The domain's process is halted by a signal: it executes nothing and answers nothing. Does not ask the hypervisor's daemon.</summary>
    bool IsHalted(string domain);

    /// <summary>Ends the process that executes the domain, if there is one, by SIGKILL. Does not ask the hypervisor's daemon.</summary>
    void KillEmulator(string domain);
}

public enum CallOutcome
{
    Done,

    /// <summary>Answered: not done.</summary>
    Refused,

    /// <summary>No answer within the deadline: it may have been done, or may yet be.</summary>
    Unknown,
}

/// <param name="Text">What the hypervisor said, one line.</param>
public readonly record struct HypervisorAnswer(CallOutcome Outcome, string Text);

public enum DomainState
{
    /// <summary>The hypervisor did not answer.</summary>
    Unknown,

    /// <summary>Not defined.</summary>
    Absent,
    Stopped,
    Running,
    Paused,
}

/// <param name="Reason">The hypervisor's word for it, for example <c>booted</c>, <c>shutdown</c>, <c>crashed</c>, <c>I/O error</c>.</param>
public readonly record struct DomainStatus(DomainState State, string Reason);
