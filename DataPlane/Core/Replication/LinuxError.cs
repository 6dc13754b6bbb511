namespace Pollux.DataPlane.Core.Replication;

/// <summary>The Linux error numbers by which the engine decides (asm-generic/errno-base.h and errno.h). All others only pass through.</summary>
public static class LinuxError
{
    public const int None = 0;
    public const int NoEntry = 2;
    public const int InputOutput = 5;
    public const int ArgumentTooLong = 7;
    public const int Invalid = 22;
    public const int FileTooBig = 27;
    public const int NoSpace = 28;
    public const int ReadOnly = 30;
    public const int NameTooLong = 36;
    public const int Stale = 116;
    public const int QuotaExceeded = 122;

    /// <summary>For people.</summary>
    public static string Describe(int errno) => errno switch
    {
        NoEntry => $"No such file or directory, errno {errno}",
        InputOutput => $"Input/output error, errno {errno}",
        NoSpace => $"No space left on device, errno {errno}",
        ReadOnly => $"Read-only file system, errno {errno}",
        Stale => $"Stale file handle, errno {errno}",
        QuotaExceeded => $"Disk quota exceeded, errno {errno}",
        _ => $"errno {errno}",
    };

    /// <summary>The disk or its file system has failed: nothing of this copy counts from now on.</summary>
    public static bool IsDiskFault(int errno) => errno is InputOutput or ReadOnly;

    /// <summary>A flush that fails so has lost data, whatever the number: the kernel passes on what the block layer said (ENODATA, EILSEQ,
    /// ETIMEDOUT, ENOLINK…), tells it once, and the next flush would find nothing wrong.</summary>
    public static bool LosesData(int errno) => errno != None && !IsGone(errno);

    /// <summary>The object is not there (any more).</summary>
    public static bool IsGone(int errno) => errno is Stale or NoEntry;
}
