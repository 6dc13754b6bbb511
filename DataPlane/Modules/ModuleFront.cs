using System.Text;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Telemetry;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Modules;

/// <summary>Mounts and covers with FUSE. Mount calls block, so they run on pool threads, in order.</summary>
public sealed class ModuleFront(string module, string directory) : IModuleFront
{
    private static readonly TimeSpan ProbeTimeout = TimeSpan.FromSeconds(2);

    /// <summary>By then the engine has answered whatever it held: what is not unmounted is aborted.</summary>
    private static readonly TimeSpan UnmountTimeout = TimeSpan.FromSeconds(5);

    private readonly string _source = module.Replace('/', '.');
    private CoveredDirectory? _covered;
    private CoverFileSystem? _cover;
    private FuseSession? _coverSession;
    private FuseSession? _serving;
    private FuseCompletions? _completions;
    private FuseVolume? _volume;

    public event Action<string>? Failed;

    public SafeFileHandle Directory => _covered?.Handle ?? throw new InvalidOperationException($"The directory of {module} is not open.");

    public Task OpenAsync(string explanation) => Task.Run(() =>
    {
        // Asked by its errno: a dead mount of a killed process is there, though it cannot be looked into; opening removes it.
        if (IsMissing(directory))
            System.IO.Directory.CreateDirectory(directory);
        _cover = new CoverFileSystem(explanation);
        _covered = CoveredDirectory.Open(directory, ProbeTimeout);
        _coverSession = FuseSession.Start(_covered, _cover, new FuseSessionOptions { Source = _source, Workers = 1 });
    });

    public IVolumeCompletions NewCompletions() => _completions = new FuseCompletions();

    public Task ServeAsync(IModuleVolume volume) => Task.Run(() =>
    {
        Stop(ref _coverSession);
        _volume = new FuseVolume(volume, _completions!);
        var session = FuseSession.Start(_covered!, _volume, FuseVolume.SessionOptions(_source), (volume as ILoopVolume)?.Loop);
        _serving = session;
        session.Ended.ContinueWith(
            _ => ReportEnd(session), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
    });

    public Task SettleAsync() => _volume?.SettleAsync() ?? Task.CompletedTask;

    public Task CoverAsync() => Task.Run(() =>
    {
        Stop(ref _serving);
        _coverSession ??= FuseSession.Start(_covered!, _cover!, new FuseSessionOptions { Source = _source, Workers = 1 });
    });

    public void Explain(string explanation)
    {
        if (_cover is { } cover && cover.Explanation != explanation)
            cover.Explanation = explanation;
    }

    public Task CloseAsync() => Task.Run(() =>
    {
        Stop(ref _serving);
        Stop(ref _coverSession);
        _covered?.Uncover();
        _covered?.Dispose();
        _covered = null;
    });

    private static unsafe bool IsMissing(string path)
    {
        Statx stat;
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
            return Libc.StatxAt(Libc.AtCurrentDirectory, name, 0, 0, &stat) != 0 && Libc.LastErrno == Native.Errno.ENOENT;
    }

    /// <summary>A session that ends while it is still ours was not ended by us.</summary>
    private void ReportEnd(FuseSession session)
    {
        if (ReferenceEquals(Volatile.Read(ref _serving), session))
            Failed?.Invoke(session.FaultCause is { } fault ? $"The mount failed: {fault.Message}" : "The mount was taken away by somebody.");
    }

    private void Stop(ref FuseSession? slot)
    {
        if (Interlocked.Exchange(ref slot, null) is not { } session)
            return;
        var outcome = session.Stop(UnmountTimeout);
        if (outcome == UnmountOutcome.Aborted)
            HostLog.Warn("modules", "the mount was in use and was aborted", ("module", module), ("directory", directory));
    }
}
