using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Fuse;

/// <summary>How a mount ended.</summary>
public enum UnmountOutcome
{
    /// <summary>Nobody used the mount: all cached data was written back first.</summary>
    Clean,

    /// <summary>Files were still open, or unmounting took too long: the connection was aborted; their users get ENOTCONN.</summary>
    Aborted,
}

/// <summary>One FUSE mount over a <see cref="CoveredDirectory"/>, made with mount(2).</summary>
/// <remarks>While it lives a descriptor pins the mount's root. So an abort by umount2(MNT_FORCE), which needs no fusectl file system,
/// always fails with EBUSY after it has aborted the connection: the dead mount stays and goes on hiding what is below.</remarks>
public sealed class FuseMount
{
    private const string ControlDirectory = "/sys/fs/fuse/connections";
    private readonly Lock _gate = new();
    private readonly int _connection;
    private SafeFileHandle? _pin;

    private FuseMount(string path, int connection, SafeFileHandle pin)
    {
        Path = path;
        _connection = connection;
        _pin = pin;
    }

    public string Path { get; }

    public bool Mounted
    {
        get
        {
            lock (_gate)
                return _pin is not null;
        }
    }

    /// <param name="device">An open /dev/fuse without a connection.</param>
    /// <param name="source">What the mount table shows as the source, for example the module's name; no commas.</param>
    /// <param name="readBytesMax">Largest READ that the kernel may send, bytes.</param>
    /// <exception cref="FuseException">mount(2) failed: not root, or no FUSE in this kernel.</exception>
    public static FuseMount Create(CoveredDirectory directory, SafeFileHandle device, string source, int readBytesMax)
    {
        // default_permissions: the kernel checks modes, so a handler never has to. allow_other: QEMU does not run as root.
        var options = string.Create(CultureInfo.InvariantCulture,
            $"fd={device.DangerousGetHandle()},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other,max_read={readBytesMax}");
        var path = directory.Path;
        if (FuseNative.Mount(source, path, CoveredDirectory.FuseType, (nuint)(FuseNative.MsNoSuid | FuseNative.MsNoDevices), options) != 0)
            throw new FuseException($"Cannot mount FUSE on {path}", Marshal.GetLastPInvokeError());
        try
        {
            return new FuseMount(path, MountTable.On(path)[^1].DeviceMinor, CoveredDirectory.OpenPath(path));
        }
        catch
        {
            _ = FuseNative.Unmount(path, FuseNative.UmountForce | FuseNative.UmountDetach | FuseNative.UmountNoFollow);
            throw;
        }
    }

    /// <summary>The mount of an earlier process whose connection is still held.</summary>
    /// <param name="connection">Number of the connection (<see cref="Connection"/>).</param>
    /// <exception cref="FuseException">Another mount, or none, lies on the path.</exception>
    internal static FuseMount Adopt(CoveredDirectory directory, int connection)
    {
        var path = directory.Path;
        if (MountTable.On(path) is not [.., { Type: CoveredDirectory.FuseType } top] || top.DeviceMinor != connection)
            throw new FuseException($"The mount of FUSE connection {connection} does not lie on {path}.");
        return new FuseMount(path, connection, CoveredDirectory.OpenPath(path));
    }

    /// <summary>Number of the FUSE connection on this machine: the minor device number of the mounted file system.</summary>
    internal int Connection => _connection;

    /// <summary>Ends the connection at once: all waiting and later requests of applications fail with ENOTCONN or ECONNABORTED. The dead
    /// mount stays in place until <see cref="Unmount"/>.</summary>
    public void Abort()
    {
        // An Unmount that is under way holds the lock while it waits for the handler: do not wait for it here.
        if (!_gate.TryEnter())
        {
            AbortByControlFile();
            return;
        }

        try
        {
            if (_pin is null)
                return;
            if (FuseNative.Unmount(Path, FuseNative.UmountForce | FuseNative.UmountNoFollow) != 0
                && Marshal.GetLastPInvokeError() is not Errno.EBUSY)
                AbortByControlFile();
        }
        finally
        {
            _gate.Exit();
        }
    }

    /// <summary>Unmounts: in the normal way, else by aborting the connection and detaching the mount.</summary>
    /// <param name="timeout">How long the normal way may take: the kernel writes back shared mappings, which the handler must answer.</param>
    public UnmountOutcome Unmount(TimeSpan timeout)
    {
        lock (_gate)
        {
            if (_pin is null)
                return UnmountOutcome.Clean;
            _pin.Dispose();
            _pin = null;
            var errno = 0;
            var unmount = new Thread(() =>
            {
                if (FuseNative.Unmount(Path, FuseNative.UmountNoFollow) != 0)
                    Volatile.Write(ref errno, Marshal.GetLastPInvokeError());
            })
            { IsBackground = true, Name = "fuse-unmount" };
            unmount.Start();
            if (unmount.Join(timeout))
            {
                if (Volatile.Read(ref errno) == 0)
                    return UnmountOutcome.Clean;
                if (FuseNative.Unmount(Path, FuseNative.UmountForce | FuseNative.UmountDetach | FuseNative.UmountNoFollow) != 0)
                    throw new FuseException($"Cannot unmount {Path}", Marshal.GetLastPInvokeError());
                return UnmountOutcome.Aborted;
            }

            // Already out of the mount table and waiting for the handler: only the control file reaches the connection now.
            AbortByControlFile();
            unmount.Join(timeout);
            return UnmountOutcome.Aborted;
        }
    }

    /// <summary>Writes to the connection's control file (Documentation/filesystems/fuse.rst); fusectl is mounted on its usual place first
    /// if it is not there.</summary>
    private void AbortByControlFile()
    {
        var file = $"{ControlDirectory}/{_connection.ToString(CultureInfo.InvariantCulture)}/abort";
        try
        {
            if (MountTable.On(ControlDirectory).Count == 0
                && FuseNative.Mount("fusectl", ControlDirectory, "fusectl", 0, null) != 0)
                throw new FuseException("Cannot mount fusectl", Marshal.GetLastPInvokeError());
            File.WriteAllText(file, "1");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FuseException)
        {
            // The file is missing when the connection is already gone; anything else leaves the abort to the closing of the device.
            Trace.TraceWarning($"FUSE connection {_connection} of {Path} could not be aborted through {file}: {e.Message}");
        }
    }
}
