using System.Net.Sockets;
using System.Runtime.InteropServices;
using Pollux.DataPlane.Control;
using Pollux.DataPlane.Fencing;
using Pollux.DataPlane.Guard;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Identity;
using Pollux.DataPlane.Modules;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Commands;

/// <summary><c>pollux-host run</c>: checks the machine, starts the parts, and ends them in order.</summary>
internal static class HostProgram
{
    /// <summary>Pool threads that are there from the start: steps that block (mounts, fsync, the process table) must not make beacons wait
    /// for the pool to grow, which takes half a second a thread.</summary>
    private const int PoolThreadsMin = 16;

    /// <summary>SIGUSR2 (signal(7), x86 and ARM): end and leave everything to the next process, as for an upgrade.</summary>
    private const PosixSignal HandOver = (PosixSignal)12;

    public static async Task RunAsync(HostIdentity identity, DataPlaneOptions options, CancellationToken cancel)
    {
        CheckMachine();
        var (fencingOptions, fencingUnusable) = LoadFencing(options);
        ThreadPool.GetMinThreads(out _, out var completionThreads);
        ThreadPool.SetMinThreads(PoolThreadsMin, completionThreads);
        Directory.CreateDirectory(options.DataDirectory);
        Directory.CreateDirectory(options.RunDirectory);
        using var only = LockOrRefuse(Path.Combine(options.DataDirectory, "lock"));
        var guardLock = Path.Combine(options.RunDirectory, "guard.lock");
        var guardSocket = Path.Combine(options.RunDirectory, "guard.sock");
        // What an earlier process has left is taken over before anything else; a guard that has nothing to keep is waited for.
        var earlier = EarlierGuard.Find(guardSocket);
        if (earlier is null)
            GuardProcess.Lock(guardLock).Dispose();
        var lostPower = NoteLostPower(options);
        using var telemetry = TelemetryExport.StartIfConfigured(identity.Host);

        var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, End);
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, End);
        var handOver = false;
        using var restart = PosixSignalRegistration.Create(HandOver, context =>
        {
            handOver = true;
            End(context);
        });
        using var cancelled = cancel.Register(() => ended.TrySetResult());

        var watchdogStatus = Path.Combine(options.RunDirectory, WatchdogStatus.FileName);
        (WatchdogOptions, string, int)? watchdog = fencingOptions.Watchdog is { } one ? (one, watchdogStatus, fencingOptions.StopSeconds) : null;
        using var guard = new GuardClient(() => GuardClient.OwnProgram(guardLock, guardSocket, watchdog), guardSocket, earlier);
        var hypervisor = new LibvirtHypervisor(Environment.GetEnvironmentVariable("LIBVIRT_DEFAULT_URI") is { Length: > 0 } uri ? uri : "qemu:///system");
        var fencing = new HostFencing(fencingOptions, watchdogStatus, guard.Fence, domain => hypervisor.EmulatorPid(domain) is not null, () => BootClock.NowMs,
            fencingUnusable);
        await using var fencingEnds = fencing.ConfigureAwait(false);
        await using (hypervisor.ConfigureAwait(false))
        {
            hypervisor.Start();
            var host = new DataPlaneHost(identity, options, hypervisor, guard, fencing, earlier, lostPower);
            await using (host.ConfigureAwait(false))
            {
                try
                {
                    await host.StartAsync(cancel).ConfigureAwait(false);
                }
                catch (SocketException e)
                {
                    throw new HostStartException("host.port-in-use",
                        $"Port {options.PeerPort} or {options.ReplicationPort} cannot be used: {e.Message}. Another program listens there; end it.", e);
                }

                var socket = new LocalSocket(options.SocketPath, host.AnswerAsync);
                await using (socket.ConfigureAwait(false))
                {
                    HostLog.Info("host", "started", ("host", identity.Host), ("lostPower", lostPower), ("server", identity.Server));
                    _ = host.ConnectedOnce.ContinueWith(
                        _ => Console.Out.WriteLine($"pollux-host ready: {identity.Host}"),
                        CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);
                    await ended.Task.ConfigureAwait(false);
                    if (handOver)
                    {
                        HostLog.Info("host", "ending: VMs and mounts are left to the guard for the next process");
                        await host.HandOverAsync().ConfigureAwait(false);
                        HostLog.Close(TimeSpan.FromSeconds(1));
                        // At once: what is disposed in order would end VMs and mounts.
                        Environment.Exit(0);
                    }

                    HostLog.Info("host", "ending: modules are left in order");
                }
            }
        }

        HostLog.Info("host", "ended");

        void End(PosixSignalContext context)
        {
            context.Cancel = true;
            ended.TrySetResult();
        }
    }

    private static void CheckMachine()
    {
        if (!OperatingSystem.IsLinux())
            throw new HostStartException("host.not-linux", "pollux-host needs Linux: it mounts with FUSE and runs VMs by libvirt.");
        if (!Environment.IsPrivilegedProcess)
            throw new HostStartException("host.not-root", "pollux-host needs root: it mounts file systems and keeps trusted attributes. Run it with sudo or by systemd.");
        if (!File.Exists("/dev/fuse"))
            throw new HostStartException("host.no-fuse", "There is no /dev/fuse on this machine. Load the module: modprobe fuse.");
    }

    /// <summary>VMs of an earlier process may run and wait for this one: a file that cannot be used is no reason not to serve them.</summary>
    private static (FencingOptions Options, string? Unusable) LoadFencing(DataPlaneOptions options)
    {
        try
        {
            return (FencingOptions.Load(options.DataDirectory), null);
        }
        catch (FormatException e)
        {
            HostLog.Error("fencing", "the options cannot be used; no VM starts on this host", ("reason", e.Message));
            return (FencingOptions.None, e.Message);
        }
    }

    /// <summary>A host that cannot note a loss of power in every module's state must not start: it would forget it (rule S2).</summary>
    private static bool NoteLostPower(DataPlaneOptions options)
    {
        try
        {
            return ModuleState.NoteLostPower(options.DataDirectory, new PowerLossMarker(options.RunDirectory));
        }
        catch (IOException e)
        {
            throw new HostStartException(e is StorageException { Fault: StorageFault.NewerVersion } ? "host.newer-state" : "host.state-unusable",
                $"The states of this host's modules cannot be used: {e.Message}", e);
        }
    }

    private static FileStream LockOrRefuse(string path)
    {
        try
        {
            return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException e)
        {
            throw new HostStartException("host.already-running", $"Another pollux-host runs with this data directory ({path} is locked). End it first.", e);
        }
    }
}
