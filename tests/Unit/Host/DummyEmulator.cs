using System.Diagnostics;

namespace Pollux.Tests.Unit.Hosts;

/// <summary>A process that looks like a domain's QEMU in the process table and does nothing.</summary>
internal sealed class DummyEmulator : IDisposable
{
    private readonly Process _process;

    public DummyEmulator(string domain)
    {
        Domain = domain;
        _process = Process.Start(new ProcessStartInfo(
            "/bin/sh", ["-c", "while :; do sleep 60; done", "qemu", "-name", $"guest={domain},debug-threads=on", "-S"]))!;
    }

    public string Domain { get; }

    public int Pid => _process.Id;

    public bool HasExited => _process.HasExited;

    public static string NewName() => "pollux-unit-" + Guid.NewGuid().ToString("N");

    public Task ExitAsync(CancellationToken cancel) => _process.WaitForExitAsync(cancel);

    public void Dispose()
    {
        if (!_process.HasExited)
            _process.Kill(entireProcessTree: true);
        _process.Dispose();
    }
}
