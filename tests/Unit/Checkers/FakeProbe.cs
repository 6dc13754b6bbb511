using Pollux.DataPlane.Checkers;
using Pollux.DataPlane.Core.Checkers;

namespace Pollux.Tests.Unit.Checkers;

/// <summary>Says what it is told to, and counts.</summary>
internal sealed class FakeProbe : IProbe
{
    private volatile string? _fault;
    private int _tests;

    /// <summary>Why every test fails; null: all is well.</summary>
    public string? Fault
    {
        get => _fault;
        set => _fault = value;
    }

    public int Tests => Volatile.Read(ref _tests);

    public Task<CheckResult> TestAsync(CheckerSpec checker, CancellationToken cancel)
    {
        Interlocked.Increment(ref _tests);
        return Task.FromResult(_fault is { } fault ? CheckResult.Failed(fault) : CheckResult.Well);
    }
}
