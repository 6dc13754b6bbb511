using System.Text;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Guard;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Telemetry;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Modules;

/// <summary>Mounts and covers one directory of a module with FUSE. The calls block.</summary>
/// <param name="index">Position among the module's directories, from 0.</param>
/// <param name="exchanges">See <see cref="ExchangeNotes"/>; this directory's own, as request numbers are its connection's.</param>
/// <param name="holder">Keeps the serving mount over the death of this process.</param>
/// <param name="held">The mount of an earlier process, whose users wait: it lies on the directory until it is served again
/// (<see cref="Serve"/>) or given up (<see cref="Cover"/>). This front's from now on.</param>
internal sealed class DirectoryFront(string module, string directory, int index, ExchangeNotes exchanges, IMountHolder holder, HeldMount? held)
{
    private static readonly TimeSpan ProbeTimeout = TimeSpan.FromSeconds(2);

    /// <summary>By then the engine has answered whatever it held: what is not unmounted is aborted.</summary>
    private static readonly TimeSpan UnmountTimeout = TimeSpan.FromSeconds(5);

    private readonly string _source = module.Replace('/', '.');
    private readonly string _key = HeldMount.KeyOf(module, index);
    private CoveredDirectory? _covered;
    private CoverFileSystem? _cover;
    private FuseSession? _coverSession;
    private FuseSession? _serving;
    private FuseVolume? _volume;
    private HeldMount? _held = held;

    /// <summary>The serving mount failed or was taken away by somebody: the reason. On any thread.</summary>
    public event Action<string>? Failed;

    public SafeFileHandle Directory => _covered?.Handle ?? throw new InvalidOperationException($"{directory} of {module} is not open.");

    /// <summary>Users of an earlier process wait for the volume, and have files open.</summary>
    public bool HoldsUsers => Volatile.Read(ref _held) is not null;

    /// <summary>Ends the mount of an earlier process: its users get errors. The dead mount goes on hiding the directory.</summary>
    public static void End(HeldMount held)
    {
        using var covered = CoveredDirectory.Adopt(held.Path, held.Directory);
        Unmount(covered, held);
    }

    public void Open(string explanation)
    {
        if (_held is { } held)
        {
            _cover = new CoverFileSystem(explanation);
            _covered = CoveredDirectory.Adopt(held.Path, held.Directory);
            // The guard keeps it for this process now.
            holder.Hold(held);
            return;
        }

        // Asked by its errno: a dead mount of a killed process is there, though it cannot be looked into; opening removes it.
        if (IsMissing(directory))
            System.IO.Directory.CreateDirectory(directory);
        _cover = new CoverFileSystem(explanation);
        _covered = CoveredDirectory.Open(directory, ProbeTimeout);
        _coverSession = FuseSession.Start(_covered, _cover, new FuseSessionOptions { Source = _source, Workers = 1 });
    }

    public void Serve(IModuleVolume volume, FuseCompletions completions)
    {
        Stop(ref _coverSession);
        if (!HoldsUsers)
            exchanges.Clear();
        _volume = new FuseVolume(volume, completions, index) { GoesOn = HoldsUsers, Exchanges = exchanges };
        var session = Begin(_volume, (volume as ILoopVolume)?.Loop);
        _serving = session;
        if (session.Connection is { } connection)
            holder.Hold(new HeldMount(_key, _covered!.Path, _covered.Handle, connection));
        session.Ended.ContinueWith(
            _ => ReportEnd(session), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
    }

    public Task SettleAsync() => _volume?.SettleAsync() ?? Task.CompletedTask;

    public void Cover()
    {
        GiveUpHeld();
        StopServing();
        _coverSession ??= FuseSession.Start(_covered!, _cover!, new FuseSessionOptions { Source = _source, Workers = 1 });
    }

    public void Explain(string explanation)
    {
        if (_cover is { } cover && cover.Explanation != explanation)
            cover.Explanation = explanation;
    }

    public void Close()
    {
        GiveUpHeld();
        StopServing();
        Stop(ref _coverSession);
        _covered?.Uncover();
        _covered?.Dispose();
        _covered = null;
    }

    private static unsafe bool IsMissing(string path)
    {
        Statx stat;
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
            return Libc.StatxAt(Libc.AtCurrentDirectory, name, 0, 0, &stat) != 0 && Libc.LastErrno == Native.Errno.ENOENT;
    }

    private FuseSession Begin(FuseVolume volume, FuseLoop? loop)
    {
        var options = FuseVolume.SessionOptions(_source);
        if (_held is not { } held)
            return FuseSession.Start(_covered!, volume, options, loop);
        var session = FuseSession.Adopt(_covered!, held.Connection, volume, options, loop);
        Volatile.Write(ref _held, null);
        HostLog.Info("modules", "the users of the mount go on", ("module", module), ("directory", directory));
        return session;
    }

    /// <summary>The directory's descriptor stays: it is this front's.</summary>
    private void GiveUpHeld()
    {
        if (Interlocked.Exchange(ref _held, null) is not { } held)
            return;
        holder.Release(_key);
        Unmount(_covered!, held);
    }

    private static void Unmount(CoveredDirectory covered, HeldMount held)
    {
        try
        {
            FuseMount.Adopt(covered, held.Connection.Number).Unmount(TimeSpan.Zero);
        }
        catch (FuseException e)
        {
            HostLog.Warn("modules", "the mount of an earlier process is gone already", ("mount", held.Key), ("reason", e.Message));
        }

        foreach (var device in held.Connection.Devices)
            device.Dispose();
    }

    private void StopServing()
    {
        if (_serving is not null)
            holder.Release(_key);
        Stop(ref _serving);
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
